/** Hand a file to the user that was made in the browser. */
export function saveFile(name: string, content: Blob): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content);
  link.download = name.replace(/[^\w.-]+/g, "-");
  link.click();
  setTimeout(() => { URL.revokeObjectURL(link.href); }, 10_000);
}
