import { lazy } from "react";
import type { PageRoute } from "../../router/pages";

export const routes: PageRoute[] = [{ path: "/evaluate", component: lazy(() => import("./EvaluatePage")) }];
