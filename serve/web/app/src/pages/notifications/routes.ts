import { lazy } from "react";
import type { PageRoute } from "../../router/pages";

/** Reached by the bell, which every page has. */
export const routes: PageRoute[] = [{ path: "/notifications", component: lazy(() => import("./NotificationsPage")) }];
