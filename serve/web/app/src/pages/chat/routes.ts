import { lazy } from "react";
import type { PageRoute } from "../../router/pages";

const nav = { label: "Chat", icon: "chat", order: 13, key: "h" };

export const routes: PageRoute[] = [{ path: "/chat", component: lazy(() => import("./ChatPage")), nav }];
