package catalog

import (
	"fmt"
	"slices"
)

// An id of pgdrover.next_id() is a bigint:
//
//	bit 63      0
//	bits 32-62  seconds since 2024-01-01 00:00 UTC: 31 bits, until 2092-01-19, then from 0 again
//	bits 22-31  number of the shard: 10 bits
//	bits 0-21   value of the shard's sequence pgdrover.id: 22 bits, then from 0 again
//
// Two ids are the same only if one shard makes them in the same second with 4,194,304 ids, or a multiple of that, between
// them. So a shard can make four million ids a second, and its clock may go back by as long as it took to make the last four
// million: 7 minutes at 10,000 a second. Because the time is part of it, a shard whose sequence starts anew, being restored from a
// backup or filled by logical replication, does not repeat what it gave before. Ids of one shard ascend with the second and, up
// to the wrap of the sequence, inside of it; over shards they ascend with the second. The second is that in which an id was drawn: those
// that pgdrover gives to the sharding keys of rows are drawn ahead.
const (
	idEpoch     = 1704067200 // 2024-01-01 in Unix time
	idShardBits = 10
	idSequence  = 22 // bits
	// MaxShardNumber is the highest number of a shard in ids.
	MaxShardNumber = 1<<idShardBits - 1
)

// NextIDSQL returns the SQL that installs the function pgdrover.next_id() on the shard with this number, from 0 to
// MaxShardNumber, to run in one transaction; again if the number changes. No two shards may have the same number at a time. The
// function can be the default of a column; everybody may call it.
func NextIDSQL(shardNumber int) ([]string, error) {
	if shardNumber < 0 || shardNumber > MaxShardNumber {
		return nil, fmt.Errorf("shard number %d is not between 0 and %d, which is what ids have room for", shardNumber, MaxShardNumber)
	}
	return []string{
		schemaSQL,
		`GRANT USAGE ON SCHEMA pgdrover TO PUBLIC`,
		fmt.Sprintf(`CREATE SEQUENCE IF NOT EXISTS pgdrover.id AS bigint MINVALUE 0 MAXVALUE %d CYCLE`, 1<<idSequence-1),
		`GRANT USAGE ON SEQUENCE pgdrover.id TO PUBLIC`,
		// Whoever calls it has a search_path of his own: all names and operators have their schema. It has no settings and is not
		// SECURITY DEFINER, so that PostgreSQL can put its expression in place of the call.
		fmt.Sprintf(`CREATE OR REPLACE FUNCTION pgdrover.next_id() RETURNS bigint LANGUAGE sql VOLATILE PARALLEL UNSAFE AS $$
SELECT ((pg_catalog.floor(pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()))::pg_catalog.int8
 OPERATOR(pg_catalog.-) %d) OPERATOR(pg_catalog.&) 2147483647) OPERATOR(pg_catalog.<<) %d
 OPERATOR(pg_catalog.|) %d::pg_catalog.int8 OPERATOR(pg_catalog.|) pg_catalog.nextval('pgdrover.id'::pg_catalog.regclass)
$$`, idEpoch, idShardBits+idSequence, shardNumber<<idSequence),
		`COMMENT ON FUNCTION pgdrover.next_id() IS 'unique over shards: 31 bits of seconds since 2024, 10 bits of shard number, 22 bits of a sequence'`,
	}, nil
}

const (
	// nextIDCall is a call of the function as PostgreSQL writes it in the default of a column.
	nextIDCall = guardSchema + ".next_id()"
	oidInt8    = 20
)

// IsNextID says whether f is the function that NextIDSQL installs.
func (f *Function) IsNextID() bool {
	return f.Name == Name{guardSchema, "next_id"} && len(f.Args) == 0 && f.Returns == oidInt8 && !f.Set && f.Kind == 'f'
}

// DrawsNextID says whether a column's default is pgdrover.next_id(), and the column a bigint, so that an id that was drawn somewhere
// else can be given to it instead.
func (c *Catalog) DrawsNextID(col *Column) bool {
	if col.Default != nextIDCall || col.Base != oidInt8 || col.Identity != 0 || col.Generated != 0 {
		return false
	}
	overloads := c.Functions[Name{guardSchema, "next_id"}]
	return len(overloads) > 0 && !slices.ContainsFunc(overloads, func(f *Function) bool { return !f.IsNextID() })
}
