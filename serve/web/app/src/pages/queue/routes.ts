import { lazy } from "react";
import type { PageRoute } from "../../router/pages";

const nav = { label: "Queue", icon: "queue", order: 2, key: "q" };

export const routes: PageRoute[] = [{ path: "/queue", component: lazy(() => import("./QueuePage")), nav }];
