/** Who uses the app: signing in with a key, and out. */
import { queryOptions } from "@tanstack/react-query";
import { ApiError, http, unwrap, type Schemas } from "./client";

export type Session = Schemas["Session"];

export const sessionKey = ["session"] as const;

/** The caller; `null` is nobody, where the service requires a key. */
export const sessionQuery = queryOptions({
  queryKey: sessionKey,
  queryFn: async ({ signal }): Promise<Session | null> => {
    try {
      return await unwrap(http.GET("/api/session", { signal }));
    } catch (error) {
      if (isSignedOut(error)) return null;
      throw error;
    }
  },
});

export const signIn = (key: string) => unwrap(http.POST("/api/session", { body: { key } }));

export const signOut = () => unwrap(http.DELETE("/api/session"));

/** Whether an error says that the caller has no valid key or session. */
export function isSignedOut(error: unknown): boolean {
  return error instanceof ApiError && error.status === 401;
}

/** The key in the address of a QR code, which is behind the `#`; it never leaves the browser by itself. */
export function keyInFragment(fragment: string): string | null {
  const key = new URLSearchParams(fragment.replace(/^#/, "")).get("key");
  return key?.startsWith("ftl_") ? key : null;
}

/** Whether the caller manages users and keys, and acts for others. */
export const isAdmin = (session: Session): boolean => session.scopes.includes("admin");
