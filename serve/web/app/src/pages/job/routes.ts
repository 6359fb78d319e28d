import { lazy } from "react";
import type { PageRoute } from "../../router/pages";

export const routes: PageRoute[] = [{ path: "/jobs/:id", component: lazy(() => import("./JobPage")) }];
