import { keepPreviousData, useQuery } from "@tanstack/react-query";
import type { Schemas } from "../api/client";
import { tokensQuery, type Reading } from "../api/datasets";
import { count, counted } from "../format/format";
import { IconButton } from "../ui/Button";
import { ErrorNote, Loading } from "../ui/Notes";
import "./data.css";

interface Props {
  id: string;
  reading: Reading;
  numRows: number;
  row: number;
  onRow: (row: number) => void;
}

/** A row as the model reads it, token by token. */
export function TokenPanel({ id, reading, numRows, row, onRow }: Props) {
  const tokens = useQuery({ ...tokensQuery(id, row, reading), placeholderData: keepPreviousData });
  return (
    <div className="tokens" aria-busy={tokens.isPlaceholderData}>
      <div className="token-bar">
        <IconButton label="Previous row" icon="back" disabled={row <= 1} onClick={() => { onRow(row - 1); }} />
        <span className="numeric">Row {count(row)} of {count(numRows)}</span>
        <IconButton label="Next row" icon="back" className="turned" disabled={row >= numRows} onClick={() => { onRow(row + 1); }} />
        <span className="token-legend small">
          <span><i className="token token-trained">trained</i></span>
          <span><i className="token">read only</i></span>
          <span><i className="token token-cut">cut off</i></span>
        </span>
      </div>
      {tokens.isError && <ErrorNote error={tokens.error} retry={() => void tokens.refetch()} />}
      {tokens.isPending && <Loading lines={3} />}
      {tokens.data?.map((part) => <TokenRow key={part.part} row={part} />)}
    </div>
  );
}

function TokenRow({ row }: { row: Schemas["TokenRow"] }) {
  const facts = [
    counted(row.num_tokens, "token"),
    `${count(row.num_trained)} trained`,
    ...(row.num_truncated ? [`${count(row.num_truncated)} cut off`] : []),
    ...(row.num_hidden ? [`the last ${count(row.num_hidden)} are not shown`] : []),
  ];
  return (
    <>
      <p className="muted small numeric">
        {row.part && `${row.part}: `}
        {facts.join(", ")}
      </p>
      <p className="token-text mono">
        {row.tokens.map((token, index) => (
          <span key={index} className={lookOf(token)} title={`Token ${String(token.id)}`}>
            {token.text}
          </span>
        ))}
      </p>
    </>
  );
}

function lookOf(token: Schemas["Token"]): string {
  const state = token.is_truncated ? "token-cut" : token.is_trained ? "token-trained" : "";
  return `token ${state} ${token.is_special ? "token-special" : ""}`;
}
