/** A column whose title only screen readers show. */
type Column = string | { hidden: string };

/** The head of a table, with the titles of its columns. */
export function TableHead({ columns }: { columns: Column[] }) {
  return (
    <thead>
      <tr>
        {columns.map((column) =>
          typeof column === "string" ? (
            <th key={column} scope="col">{column}</th>
          ) : (
            <th key={column.hidden} scope="col"><span className="visually-hidden">{column.hidden}</span></th>
          ),
        )}
      </tr>
    </thead>
  );
}
