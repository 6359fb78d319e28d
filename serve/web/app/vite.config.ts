import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import react from "@vitejs/plugin-react";
import { defineConfig, type Plugin } from "vite";

const SERVICE = process.env.FTLAB_SERVER_URL ?? "http://127.0.0.1:8000";
const OUT = "../static";

/** Writes FILE.gz beside each built file, so that the service compresses nothing while it answers. */
function precompress(): Plugin {
  return {
    name: "precompress",
    apply: "build",
    closeBundle() {
      for (const name of readdirSync(OUT, { recursive: true, encoding: "utf-8" })) {
        const file = join(OUT, name);
        if (statSync(file).isFile() && !name.endsWith(".gz")) {
          writeFileSync(`${file}.gz`, gzipSync(readFileSync(file), { level: 9 }));
        }
      }
    },
  };
}

export default defineConfig({
  plugins: [react(), precompress()],
  build: {
    outDir: OUT,
    emptyOutDir: true,
    target: "es2022",
    // A small file in the code would be a `data:` address, which the content policy of the service refuses.
    assetsInlineLimit: 0,
    rolldownOptions: { checks: { pluginTimings: false } },
  },
  server: {
    host: "127.0.0.1",
    proxy: { "/api": SERVICE, "/docs": SERVICE, "/openapi.json": SERVICE, "/ready": SERVICE },
  },
});
