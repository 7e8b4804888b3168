//! The directive table, the redis.conf parser and rewriter, and the typed settings. Imports `base`.
