// Package catalog holds what pgdrover knows of the tables, types, functions and operators of a sharded database: a snapshot of
// PostgreSQL's system catalogs, and the queries that load it.
//
// A Catalog is immutable; a refresh makes a new one. Planning reads it and nothing else, so what is missing in it is unknown
// and not assumed: a relation, function or operator that it does not list makes a statement refused.
package catalog
