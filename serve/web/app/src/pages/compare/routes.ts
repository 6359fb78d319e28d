import { lazy } from "react";
import type { PageRoute } from "../../router/pages";

const nav = { label: "Compare", icon: "compare", order: 3, key: "c" };

export const routes: PageRoute[] = [{ path: "/compare", component: lazy(() => import("./ComparePage")), nav }];
