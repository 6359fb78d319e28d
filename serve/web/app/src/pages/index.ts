/** Every page, one line each. */
import type { PageRoute } from "../router/pages";
import { routes as compare } from "./compare/routes";
import { routes as job } from "./job/routes";
import { routes as jobs } from "./jobs/routes";
import { routes as queue } from "./queue/routes";

export const PAGES: PageRoute[] = [
  ...jobs,
  ...job,
  ...queue,
  ...compare,
];
