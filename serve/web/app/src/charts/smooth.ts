/** Exponential moving average, corrected for its start at zero: the first value is the first point itself. Of a constant, it is that constant exactly. */
export function smoothed(values: number[], weight: number): number[] {
  if (weight === 0) return values;
  let average = 0;
  let missing = 1;
  return values.map((value) => {
    missing *= weight;
    average += ((1 - weight) / (1 - missing)) * (value - average);
    return average;
  });
}
