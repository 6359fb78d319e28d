/** API keys, users, and the audit log. */
import { infiniteQueryOptions, queryOptions } from "@tanstack/react-query";
import { http, unwrap, type Schemas } from "./client";
import { paged, pageQuery } from "./pages";

export type ApiKey = Schemas["ApiKey"];
export type CreatedKey = Schemas["CreatedKey"];
export type Scope = Schemas["Scope"];
export type User = Schemas["User"];
export type AuditEntry = Schemas["AuditEntry"];

const PAGE_SIZE = 50;

export const accessKeys = { all: ["access"] as const, keys: ["access", "keys"] as const };

/** Keys change outside the live stream, so every page asks when it is opened. */
export const keyListQuery = (owner: string) =>
  queryOptions({
    queryKey: [...accessKeys.keys, owner],
    staleTime: 0,
    queryFn: async ({ signal }) => (await unwrap(http.GET("/api/keys", { params: { query: { owner } }, signal }))).data,
  });

export const createKey = (owner: string, body: Schemas["NewKey"]) =>
  unwrap(http.POST("/api/keys", { params: { query: { owner } }, body }));

const at = (id: string) => ({ params: { path: { key_id: id } } });

/** How long a replaced key stays valid beside the new one. */
export const GRACE_HOURS = 24;

export const rotateKey = (id: string) =>
  unwrap(http.POST("/api/keys/{key_id}/rotate", { ...at(id), body: { grace_hours: GRACE_HOURS } }));

export const revokeKey = (id: string) => unwrap(http.DELETE("/api/keys/{key_id}", at(id)));

export const userListQuery = queryOptions({
  queryKey: [...accessKeys.all, "users"],
  staleTime: 0,
  queryFn: async ({ signal }) => (await unwrap(http.GET("/api/users", { signal }))).data,
});

export const addUser = (name: string) => unwrap(http.POST("/api/users", { body: { name } }));

export const switchUser = (name: string, isDisabled: boolean) =>
  unwrap(http.PATCH("/api/users/{name}", { params: { path: { name } }, body: { is_disabled: isDisabled } }));

export const auditQuery = (user: string) =>
  infiniteQueryOptions({
    queryKey: [...accessKeys.all, "audit", user],
    ...paged,
    staleTime: 0,
    queryFn: ({ pageParam, signal }) => {
      const query = { ...pageQuery(PAGE_SIZE, pageParam), ...(user ? { user } : {}) };
      return unwrap(http.GET("/api/audit", { params: { query }, signal }));
    },
  });

export type Quota = Schemas["Quota"];
export type QuotaChange = Schemas["QuotaChange"];

export const quotaQuery = (owner: string) =>
  queryOptions({
    queryKey: [...accessKeys.all, "quota", owner],
    staleTime: 0,
    queryFn: ({ signal }) => unwrap(http.GET("/api/quota", { params: { query: { owner } }, signal })),
  });

export const changeQuota = (owner: string, body: QuotaChange) =>
  unwrap(http.PUT("/api/quota", { params: { query: { owner } }, body }));
