import { QueryClient } from "@tanstack/react-query";
import { ApiError } from "../api/client";

const MAX_RETRIES = 3;

/** What is shown stays as it is until the live stream changes it, so that nothing is asked twice. */
export const queryClient = new QueryClient({
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
