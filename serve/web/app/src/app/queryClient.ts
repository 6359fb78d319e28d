import { MutationCache, QueryCache, QueryClient } from "@tanstack/react-query";
import { ApiError } from "../api/client";
import { isSignedOut, sessionKey } from "../api/session";

const MAX_RETRIES = 3;

/** What is shown stays as it is until the live stream changes it, so that nothing is asked twice. */
export const queryClient: QueryClient = new QueryClient({
  queryCache: new QueryCache({ onError: showSignIn }),
  mutationCache: new MutationCache({ onError: showSignIn }),
  defaultOptions: {
    queries: {
      staleTime: Infinity,
      gcTime: 10 * 60_000,
      refetchOnWindowFocus: false,
      refetchOnReconnect: false,
      networkMode: "always",
      retry: (failures, error) => error instanceof ApiError && error.isTemporary && failures < MAX_RETRIES,
    },
    mutations: { networkMode: "always" },
  },
});

/** A session has ended: the page to sign in takes the place of the app. */
function showSignIn(error: unknown) {
  if (isSignedOut(error)) queryClient.setQueryData(sessionKey, null);
}
