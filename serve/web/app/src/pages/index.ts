/** Every page, one line each. */
import type { PageRoute } from "../router/pages";
import { routes as access } from "./access/routes";
import { routes as chat } from "./chat/routes";
import { routes as compare } from "./compare/routes";
import { routes as costs } from "./costs/routes";
import { routes as datasets } from "./datasets/routes";
import { routes as disk } from "./disk/routes";
import { routes as evaluate } from "./evaluate/routes";
import { routes as job } from "./job/routes";
import { routes as jobs } from "./jobs/routes";
import { routes as models } from "./models/routes";
import { routes as newJob } from "./new/routes";
import { routes as nodes } from "./nodes/routes";
import { routes as notifications } from "./notifications/routes";
import { routes as queue } from "./queue/routes";
import { routes as sweeps } from "./sweeps/routes";
import { routes as templates } from "./templates/routes";

export const PAGES: PageRoute[] = [
  ...jobs,
  ...job,
  ...queue,
  ...nodes,
  ...compare,
  ...sweeps,
  ...newJob,
  ...evaluate,
  ...datasets,
  ...models,
  ...chat,
  ...templates,
  ...costs,
  ...disk,
  ...access,
  ...notifications,
];
