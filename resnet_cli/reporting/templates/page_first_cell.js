  const [row, column] = data.first;
  choose(row, column, false);
