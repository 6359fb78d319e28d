import { QueryClientProvider } from "@tanstack/react-query";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { App } from "./app/App";
import { queryClient } from "./app/queryClient";
import { applyTheme, readTheme } from "./theme/theme";
import "./theme/tokens.css";
import "./theme/base.css";
import "./theme/layout.css";
import "./theme/controls.css";
import "./pages/jobs/jobs.css";

applyTheme(readTheme());
const root = document.getElementById("root");
if (root) {
  createRoot(root).render(
    <StrictMode>
      <QueryClientProvider client={queryClient}>
        <App />
      </QueryClientProvider>
    </StrictMode>,
  );
}
