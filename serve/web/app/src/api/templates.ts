/** Queries and changes of templates. */
import { queryOptions } from "@tanstack/react-query";
import { http, unwrap, type Schemas } from "./client";

export type TemplateSummary = Schemas["TemplateSummary"];
export type Template = Schemas["Template"];

export const templateKeys = { list: ["templates"] as const, one: (name: string) => ["template", name] as const };

export const templateListQuery = queryOptions({
  queryKey: templateKeys.list,
  queryFn: async ({ signal }) => (await unwrap(http.GET("/api/templates", { signal }))).data,
});

const at = (name: string) => ({ params: { path: { name } } });

export const getTemplate = (name: string) => unwrap(http.GET("/api/templates/{name}", at(name)));

export const templateQuery = (name: string) =>
  queryOptions({ queryKey: templateKeys.one(name), queryFn: () => getTemplate(name) });

export const saveTemplate = (name: string, text: string) =>
  unwrap(http.PUT("/api/templates/{name}", { ...at(name), body: { text } }));

export const deleteTemplate = (name: string) => unwrap(http.DELETE("/api/templates/{name}", at(name)));
