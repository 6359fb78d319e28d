import { lazy } from "react";
import type { PageRoute } from "../../router/pages";

const nav = { label: "Costs", icon: "costs", order: 20, key: "o" };

export const routes: PageRoute[] = [{ path: "/costs", component: lazy(() => import("./CostsPage")), nav }];
