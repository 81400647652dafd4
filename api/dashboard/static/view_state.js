// What a view shows lives in the address, so that a link shows someone else the same thing.

export function viewState(name, otherwise = "") {
  return new URLSearchParams(location.search).get(name) ?? otherwise;
}

// Values that are empty leave the address.
export function setViewState(values) {
  const query = new URLSearchParams(location.search);
  for (const [name, value] of Object.entries(values)) {
    if (value === "" || value === null || value === undefined) query.delete(name);
    else query.set(name, value);
  }
  const text = query.toString();
  history.replaceState(null, "", text ? `?${text}` : location.pathname);
}
