
const base = new URL(document.baseURI);
for (const link of document.links) if (base.search && link.host === base.host) link.search = base.search;
