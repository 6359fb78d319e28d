import { lazy } from "react";
import type { PageRoute } from "../../router/pages";

const nav = { label: "Sweeps", icon: "sweep", order: 4, key: "w" };

export const routes: PageRoute[] = [
  { path: "/sweeps", component: lazy(() => import("./SweepsPage")), nav },
  { path: "/sweeps/:id", component: lazy(() => import("./SweepPage")) },
];
