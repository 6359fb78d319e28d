import { useInfiniteQuery } from "@tanstack/react-query";
import { datasetListQuery, type Dataset } from "../../api/datasets";
import { recordsOf } from "../../api/pages";
import { useTitle } from "../../app/useTitle";
import { ago, bytes, count } from "../../format/format";
import { Link } from "../../router/Link";
import { navigate } from "../../router/router";
import { EmptyState } from "../../ui/Notes";
import { RecordList } from "../../ui/RecordList";
import { TableHead } from "../../ui/TableHead";
import { DropZone } from "../../upload/DropZone";
import { DatasetMenu } from "./DatasetMenu";
import { OpenUploads } from "./OpenUploads";
import "../records.css";
import "./datasets.css";

/** Every dataset, and the place to upload another one. */
export default function DatasetsPage() {
  useTitle("Datasets");
  const list = useInfiniteQuery(datasetListQuery);
  const datasets = recordsOf(list.data);
  return (
    <>
      <div className="page-head">
        <h1>Datasets</h1>
      </div>
      <div className="parts">
        <DropZone onDone={(dataset) => { navigate(`/datasets/${dataset.id}`); }} />
        <OpenUploads />
        <RecordList list={list} isEmpty={datasets.length === 0} empty={<NoDatasets />} older="Show older datasets">
          <Table datasets={datasets} />
        </RecordList>
      </div>
    </>
  );
}

function NoDatasets() {
  return (
    <EmptyState title="No datasets yet">
      <p>A dataset is a file of rows to train on, such as conversations. Drop one above; every row is checked, and nothing is trained yet.</p>
    </EmptyState>
  );
}

function Table({ datasets }: { datasets: Dataset[] }) {
  return (
    <table className="table stack records">
      <TableHead columns={["Name", "Rows", "Shape", "Size", "Uploaded", { hidden: "Actions" }]} />
      <tbody>
        {datasets.map((dataset) => (
          <tr key={dataset.id}>
            <th scope="row" className="record-name">
              <Link to={`/datasets/${dataset.id}`}>{dataset.name}</Link>
              <span className="muted small">{dataset.id}</span>
            </th>
            <td className="numeric" data-label="Rows">{count(dataset.num_rows)}</td>
            <td data-label="Shape">{dataset.shape}</td>
            <td className="numeric" data-label="Size">{bytes(dataset.size_bytes)}</td>
            <td data-label="Uploaded">{ago(dataset.created_at)}</td>
            <td className="record-actions"><DatasetMenu dataset={dataset} /></td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
