import type { PageRoute } from "../../router/pages";
import { JobsPage } from "./JobsPage";

const nav = { label: "Jobs", icon: "jobs", order: 1, key: "j" };

/** The first page is part of the first download; all others are loaded when they are opened. */
export const routes: PageRoute[] = [
  { path: "/", component: JobsPage, nav },
  { path: "/jobs", component: JobsPage },
];
