import { lazy } from "react";
import type { PageRoute } from "../../router/pages";

const nav = { label: "Access", icon: "key", order: 22, key: "a" };

export const routes: PageRoute[] = [{ path: "/access", component: lazy(() => import("./AccessPage")), nav }];
