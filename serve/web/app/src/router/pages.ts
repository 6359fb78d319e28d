/** What a page of the app is. Each folder of `pages/` exports its routes; `pages/index.ts` lists them. */
import type { ComponentType } from "react";
import { matchPath } from "./router";

export interface PageProps {
  /** Parts of the path, by the names in the pattern. */
  params: Record<string, string>;
}

export interface PageRoute {
  /** Pattern of the path: `/jobs/:id`. */
  path: string;
  component: ComponentType<PageProps>;
  /** Entry in the navigation; a page without one is reached from others. */
  nav?: { label: string; icon: string; order: number; key: string };
}

export function findPage(pages: PageRoute[], path: string): { page: PageRoute; params: Record<string, string> } | null {
  for (const page of pages) {
    const params = matchPath(page.path, path);
    if (params) return { page, params };
  }
  return null;
}
