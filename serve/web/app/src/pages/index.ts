/** Every page, one line each. */
import type { PageRoute } from "../router/pages";
import { routes as job } from "./job/routes";
import { routes as jobs } from "./jobs/routes";

export const PAGES: PageRoute[] = [
  ...jobs,
  ...job,
];
