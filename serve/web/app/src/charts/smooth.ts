/** Exponential moving average, corrected for its start at zero: the first value is the first point itself. */
export function smoothed(values: number[], weight: number): number[] {
  let sum = 0;
  let missing = 1;
  return values.map((value) => {
    sum = weight * sum + (1 - weight) * value;
    missing *= weight;
    return sum / (1 - missing);
  });
}
