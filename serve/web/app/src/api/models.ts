/** Queries of tuned models and base models. */
import { infiniteQueryOptions, queryOptions } from "@tanstack/react-query";
import { http, unwrap, type Schemas } from "./client";
import { paged, pageQuery } from "./pages";

export type TunedModel = Schemas["TunedModel"];
export type ModelCheck = Schemas["ModelCheck"];
export type ModelRule = Schemas["ModelRule"];

/** Delete tuned models by a rule, or only report them. */
export const pruneModels = (rule: ModelRule) => unwrap(http.POST("/api/models/prune", { body: rule }));

/** Keep a model until it is unpinned, or let it be deleted again. */
export const pinModel = (id: string, isPinned: boolean) =>
  unwrap(http.PATCH("/api/models/{model_id}", { params: { path: { model_id: id } }, body: { is_pinned: isPinned } }));

const PAGE_SIZE = 100;

export const modelListQuery = infiniteQueryOptions({
  queryKey: ["models"],
  ...paged,
  // Delivered by jobs meanwhile, which no event of this page says.
  staleTime: 0,
  queryFn: ({ pageParam, signal }) =>
    unwrap(http.GET("/api/models", { params: { query: pageQuery(PAGE_SIZE, pageParam) }, signal })),
});

/** What a job with this model would start from. */
export const modelCheckQuery = (model: string) =>
  queryOptions({
    queryKey: ["model-check", model],
    enabled: model !== "",
    queryFn: ({ signal }) => unwrap(http.POST("/api/models/check", { body: { model }, signal })),
  });
