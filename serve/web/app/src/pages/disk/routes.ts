import { lazy } from "react";
import type { PageRoute } from "../../router/pages";

const nav = { label: "Disk", icon: "disk", order: 21, key: "k" };

export const routes: PageRoute[] = [{ path: "/disk", component: lazy(() => import("./DiskPage")), nav }];
