import { lazy } from "react";
import type { PageRoute } from "../../router/pages";

export const routes: PageRoute[] = [
  {
    path: "/templates",
    component: lazy(() => import("./TemplatesPage")),
    nav: { label: "Templates", icon: "template", order: 12, key: "e" },
  },
  { path: "/templates/:name", component: lazy(() => import("./TemplatePage")) },
];
