import { lazy } from "react";
import type { PageRoute } from "../../router/pages";

export const routes: PageRoute[] = [
  {
    path: "/new",
    component: lazy(() => import("./NewJobPage")),
    nav: { label: "New job", icon: "new", order: 0, key: "n" },
  },
];
