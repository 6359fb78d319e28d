import { lazy } from "react";
import type { PageRoute } from "../../router/pages";

export const routes: PageRoute[] = [
  {
    path: "/nodes",
    component: lazy(() => import("./NodesPage")),
    nav: { label: "Nodes", icon: "node", order: 5, key: "v" },
  },
];
