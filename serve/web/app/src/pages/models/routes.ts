import { lazy } from "react";
import type { PageRoute } from "../../router/pages";

export const routes: PageRoute[] = [
  {
    path: "/models",
    component: lazy(() => import("./ModelsPage")),
    nav: { label: "Models", icon: "model", order: 11, key: "m" },
  },
];
