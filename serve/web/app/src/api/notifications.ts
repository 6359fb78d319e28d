/** Queries and changes of notifications, and of the channels that deliver them. */
import { infiniteQueryOptions, queryOptions } from "@tanstack/react-query";
import { http, unwrap, type Schemas } from "./client";
import { paged, pageQuery } from "./pages";

export type Notification = Schemas["Notification"];
export type NotificationKind = Schemas["NotificationKind"];
export type Channel = Schemas["Channel"];

const PAGE_SIZE = 50;
const DELIVERY_POLL_MS = 1000;

export const notificationKeys = {
  /** The lists and the number of unread ones; not the channels. */
  all: ["notifications"] as const,
  channels: ["channels"] as const,
};

export const unreadQuery = queryOptions({
  queryKey: [...notificationKeys.all, "unread"],
  queryFn: async ({ signal }) =>
    (await unwrap(http.GET("/api/notifications", { params: { query: { unread: true, limit: 1 } }, signal }))).num_unread,
});

export interface NotificationFilter {
  isUnread: boolean;
  kind: NotificationKind | null;
}

export const notificationListQuery = (filter: NotificationFilter) =>
  infiniteQueryOptions({
    queryKey: [...notificationKeys.all, "list", String(filter.isUnread), filter.kind ?? ""],
    ...paged,
    staleTime: 0,
    queryFn: ({ pageParam, signal }) => {
      const query = {
        ...pageQuery(PAGE_SIZE, pageParam),
        unread: filter.isUnread,
        ...(filter.kind ? { kind: [filter.kind] } : {}),
      };
      return unwrap(http.GET("/api/notifications", { params: { query }, signal }));
    },
  });

export const markRead = (id: string) =>
  unwrap(http.POST("/api/notifications/{notification_id}/read", { params: { path: { notification_id: id } } }));

/** Mark the one with this id and all older ones, so that none that came meanwhile is marked unseen. */
export const markAllRead = (until: string) => unwrap(http.POST("/api/notifications/read", { body: { until } }));

export const channelsQuery = queryOptions({
  queryKey: notificationKeys.channels,
  staleTime: 0,
  queryFn: async ({ signal }) => (await unwrap(http.GET("/api/notifications/channels", { signal }))).data,
  // Deliveries are no events: the end of a test is seen by asking again.
  refetchInterval: ({ state }) => (state.data?.some(isDelivering) ? DELIVERY_POLL_MS : false),
});

/** Whether a notification is on its way, and the end of its delivery is to be expected soon. */
export const isDelivering = (channel: Channel): boolean =>
  channel.is_on && (channel.num_pending ?? 0) > 0 && !channel.last_error;

const at = (name: string) => ({ params: { path: { name } } });

export const saveChannel = (name: string, body: Schemas["ChannelChange"]) =>
  unwrap(http.PUT("/api/notifications/channels/{name}", { ...at(name), body }));

export const switchChannel = (name: string, isOn: boolean) =>
  unwrap(http.PATCH("/api/notifications/channels/{name}", { ...at(name), body: { is_on: isOn } }));

export const testChannel = (name: string) => unwrap(http.POST("/api/notifications/channels/{name}/test", at(name)));

export const deleteChannel = (name: string) => unwrap(http.DELETE("/api/notifications/channels/{name}", at(name)));

/** A new secret for a webhook, in the form of the Standard Webhooks specification. */
export function newSecret(): string {
  const random = crypto.getRandomValues(new Uint8Array(32));
  return `whsec_${btoa(String.fromCharCode(...random))}`;
}
