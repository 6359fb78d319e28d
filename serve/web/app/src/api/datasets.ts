/** Queries and changes of datasets. */
import { infiniteQueryOptions, queryOptions } from "@tanstack/react-query";
import { ApiError, http, unwrap, type Schemas } from "./client";
import { paged, pageQuery } from "./pages";

export type Dataset = Schemas["Dataset"];
export type CheckReport = Schemas["CheckReport"];
export type CheckState = Schemas["CheckState"];

const PAGE_SIZE = 100;
const CHECK_POLL_MS = 1000;

export const datasetKeys = {
  lists: ["datasets"] as const,
  one: (id: string) => ["dataset", id] as const,
};

export const datasetListQuery = infiniteQueryOptions({
  queryKey: datasetKeys.lists,
  ...paged,
  queryFn: ({ pageParam, signal }) =>
    unwrap(http.GET("/api/datasets", { params: { query: pageQuery(PAGE_SIZE, pageParam) }, signal })),
});

export const datasetQuery = (id: string) =>
  queryOptions({
    queryKey: datasetKeys.one(id),
    queryFn: ({ signal }) =>
      unwrap(http.GET("/api/datasets/{dataset_id}", { params: { path: { dataset_id: id } }, signal })),
  });

export const previewQuery = (id: string, rows: number) =>
  queryOptions({
    queryKey: [...datasetKeys.one(id), "preview", rows],
    queryFn: ({ signal }) => {
      const params = { path: { dataset_id: id }, query: { rows } };
      return unwrap(http.GET("/api/datasets/{dataset_id}/preview", { params, signal }));
    },
  });

/** How a dataset is read by a job; the defaults of the service apply to what is left out. */
export interface Reading {
  model: string;
  max_length?: number;
  assistant_only_loss?: boolean;
  packing?: boolean;
  eval_dataset?: string;
  rewards?: string[];
}

/** The doctor's report. A check that is still working is asked for again, while the page is visible. */
export const checkQuery = (id: string, reading: Reading) =>
  queryOptions({
    queryKey: [...datasetKeys.one(id), "check", reading],
    queryFn: ({ signal }): Promise<CheckReport | CheckState> => {
      const params = { path: { dataset_id: id }, query: reading };
      return unwrap(http.POST("/api/datasets/{dataset_id}/check", { params, signal }));
    },
    refetchInterval: (query) => (query.state.data && !isReport(query.state.data) ? CHECK_POLL_MS : false),
  });

export function isReport(reply: CheckReport | CheckState): reply is CheckReport {
  return "findings" in reply;
}

export const tokensQuery = (id: string, row: number, reading: Reading) =>
  queryOptions({
    queryKey: [...datasetKeys.one(id), "tokens", row, reading],
    queryFn: async ({ signal }) => {
      const { model, max_length, assistant_only_loss, packing } = reading;
      const query = {
        row,
        model,
        ...(max_length === undefined ? {} : { max_length }),
        ...(assistant_only_loss === undefined ? {} : { assistant_only_loss }),
        ...(packing === undefined ? {} : { packing }),
      };
      const params = { path: { dataset_id: id }, query };
      const reply = await unwrap(http.GET("/api/datasets/{dataset_id}/tokens", { params, signal }));
      return (reply as Schemas["TokenRowList"]).data;
    },
  });

export const deleteDataset = (id: string) =>
  unwrap(http.DELETE("/api/datasets/{dataset_id}", { params: { path: { dataset_id: id } } }));

const at = (id: string) => ({ params: { path: { dataset_id: id } } });

export const moveDataset = (id: string, bucket: string) =>
  unwrap(http.POST("/api/datasets/{dataset_id}/move", { ...at(id), body: { bucket } }));

/** Create a URL at which anyone can download the file until it expires. */
export const shareDataset = (id: string, seconds: number) =>
  unwrap(http.POST("/api/datasets/{dataset_id}/url", { ...at(id), body: { expires_s: seconds } }));

export const contentAddress = (id: string) => `/api/datasets/${id}/content`;

export const uploadListQuery = queryOptions({
  queryKey: ["uploads"],
  queryFn: async ({ signal }) => (await unwrap(http.GET("/api/uploads", { signal }))).data,
});

export const discardUpload = (id: string) =>
  unwrap(http.DELETE("/api/uploads/{upload_id}", { params: { path: { upload_id: id } } }));

/** Whether an error says that the rows were not understood, which other options of the upload may mend. */
export function isUnreadable(error: unknown): boolean {
  return error instanceof ApiError && error.status === 422;
}
