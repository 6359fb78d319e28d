import { useQuery } from "@tanstack/react-query";
import { previewQuery } from "../api/datasets";
import { ErrorNote, Loading } from "../ui/Notes";
import { TableHead } from "../ui/TableHead";
import { RowValue } from "./RowValue";
import "./data.css";

/** The first rows of a dataset: as they are in the file, and as they are trained on. */
export function Preview({ id, rows }: { id: string; rows: number }) {
  const preview = useQuery(previewQuery(id, rows));
  if (preview.isError) return <ErrorNote error={preview.error} retry={() => void preview.refetch()} />;
  if (!preview.isSuccess) return <Loading lines={4} />;
  return (
    <div className="preview" role="region" aria-label="First rows" tabIndex={0}>
      <table className="table preview-table">
        <TableHead columns={["Line", "In the file", "As it is trained on"]} />
        <tbody>
          {preview.data.rows.map((row) => (
            <tr key={row.line}>
              <th scope="row" className="numeric muted">{row.line}</th>
              <td data-label="In the file">
                <RowValue value={row.raw} />
              </td>
              <td data-label="As it is trained on">
                {row.row ? <RowValue value={row.row} /> : <span className="bad-text">Skipped: {row.problem}</span>}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
