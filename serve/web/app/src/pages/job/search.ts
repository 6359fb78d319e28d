/** Search in text, without regard to upper and lower case. */

export function matching<T extends { text: string }>(lines: T[], search: string): T[] {
  const wanted = search.trim().toLowerCase();
  return wanted ? lines.filter((line) => line.text.toLowerCase().includes(wanted)) : lines;
}

/** The text in parts that match and parts between them. */
export function parts(text: string, search: string): { text: string; isMatch: boolean }[] {
  const wanted = search.trim().toLowerCase();
  // A letter whose lower case is longer would shift the places of all that follow.
  const lower = text.toLowerCase();
  if (!wanted || lower.length !== text.length) return [{ text, isMatch: false }];
  const found: { text: string; isMatch: boolean }[] = [];
  let end = 0;
  for (let at = lower.indexOf(wanted); at >= 0; at = lower.indexOf(wanted, end)) {
    if (at > end) found.push({ text: text.slice(end, at), isMatch: false });
    end = at + wanted.length;
    found.push({ text: text.slice(at, end), isMatch: true });
  }
  if (end < text.length) found.push({ text: text.slice(end), isMatch: false });
  return found;
}
