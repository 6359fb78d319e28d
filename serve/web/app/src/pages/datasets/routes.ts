import { lazy } from "react";
import type { PageRoute } from "../../router/pages";

export const routes: PageRoute[] = [
  {
    path: "/datasets",
    component: lazy(() => import("./DatasetsPage")),
    nav: { label: "Datasets", icon: "data", order: 10, key: "d" },
  },
  { path: "/datasets/:id", component: lazy(() => import("./DatasetPage")) },
];
