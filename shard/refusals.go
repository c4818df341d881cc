package shard

import (
	"fmt"
	"strings"
)

// A refusal is a row of the table of refusals: what is not answered, and the way out. Errors and the manual are made from it.
type refusal struct {
	name    string // Error.Construct
	code    string // SQLSTATE
	message string // with %s for a name, if there is one
	why     string // DETAIL
	hint    string
}

const (
	codeNotSupported   = "0A000"
	codeUndefinedTable = "42P01"
	codeUndefinedFunc  = "42883"
	codeNotNull        = "23502"
	codeCheck          = "23514"
	codeSyntax         = "42601"
	codeParameter      = "22023"
	codeTooComplex     = "54001"
	codeUndefinedParam = "42P02"
	codeEncoding       = "22021"
)

// Ways out that several refusals share.
const (
	hintKey   = "Add a condition \"key = value\" on the sharding key for every sharded table, or name the shard with /* shard=name */."
	hintShard = "Name the shard that is meant with /* shard=name */ or SET pgdrover.shard."
	hintEach  = "Run it on each shard in turn with /* shard=name */."
	hintLocal = "If it touches rows of the same shard only, list it in shard_local; or name the shard with /* shard=name */."
)

// The names of refusals, as Error.Construct has them.
const (
	RefuseSyntax         = "syntax"
	RefuseNewer          = "newer grammar"
	RefuseComplex        = "complexity"
	RefuseEncoding       = "client encoding"
	RefuseNode           = "unknown construct"
	RefuseRelation       = "unknown table"
	RefuseUnlisted       = "unlisted table"
	RefuseColumn         = "unknown column"
	RefuseFunction       = "unknown function"
	RefuseReaches        = "function that may reach tables"
	RefuseEffects        = "function of one server"
	RefuseSequence       = "sequence"
	RefuseSystemColumn   = "system column"
	RefuseView           = "view"
	RefusePartition      = "partition or child table"
	RefuseForeign        = "foreign table"
	RefuseSharedSequence = "sequence as table"
	RefuseTemporary      = "temporary table"
	RefuseRLS            = "row security"
	RefuseRule           = "rule"
	RefuseTrigger        = "trigger"
	RefuseDefault        = "default that may reach tables"
	RefuseMap            = "shard map"
	RefuseCheck          = "check that may reach tables"
	RefuseOperator       = "operator that may reach tables"
	RefuseCast           = "cast that may reach tables"
	RefuseScatter        = "rows of several shards"
	RefuseJoin           = "join of several shards"
	RefuseCross          = "tables of different shards"
	RefuseOrder          = "ORDER BY over several shards"
	RefuseGroup          = "GROUP BY over several shards"
	RefuseAggregate      = "aggregate over several shards"
	RefuseDistinct       = "DISTINCT over several shards"
	RefuseWindow         = "window function over several shards"
	RefuseSetOperation   = "UNION, INTERSECT or EXCEPT over several shards"
	RefuseWith           = "WITH over several shards"
	RefuseSubquery       = "subquery over several shards"
	RefuseLimit          = "LIMIT over several shards"
	RefuseLocking        = "row lock over several shards"
	RefuseReferenceLock  = "row lock on a reference table"
	RefuseUserType       = "user-defined type over several shards"
	RefuseSample         = "TABLESAMPLE"
	RefuseInto           = "SELECT INTO"
	RefuseMerge          = "MERGE"
	RefuseKeyNull        = "NULL key"
	RefuseKeyUnmapped    = "unmapped key"
	RefuseKeyDefault     = "key from a default"
	RefuseKeyComputed    = "computed key"
	RefuseKeyValue       = "uncertain key value"
	RefuseInsertSelect   = "INSERT … SELECT over several shards"
	RefuseConflict       = "ON CONFLICT without the key"
	RefuseKeyUpdate      = "UPDATE of the sharding key"
	RefuseReferenceWrite = "reference table write that differs between shards"
	RefuseWriteMix       = "write of a reference table with others"
	RefuseWriteScatter   = "write on several shards"
	RefuseCursor         = "cursor over several shards"
	RefuseHold           = "cursor WITH HOLD"
	RefuseListen         = "LISTEN and NOTIFY"
	RefusePrepare        = "PREPARE and EXECUTE as SQL"
	RefuseDo             = "DO and CALL"
	RefuseUtility        = "command of one server"
	RefuseKeySchema      = "change of a key column or a listed table"
	RefuseUnique         = "unique constraint without the key"
	RefuseMixedDDL       = "DDL on tables of different shards"
	RefuseCreateAs       = "CREATE TABLE AS"
	RefuseExplain        = "EXPLAIN of a command"
	RefuseExplainWrite   = "EXPLAIN ANALYZE of a write on several shards"
	RefuseExplainFormat  = "EXPLAIN (FORMAT …) over several shards"
	RefuseCopy           = "COPY"
	RefuseCopyFile       = "COPY with a file or program"
	RefuseCurrentOf      = "WHERE CURRENT OF"
	RefuseHint           = "routing hint"
	RefuseHintConflict   = "contradicting hint"
	RefuseParameter      = "missing parameter"
)

// refusals is the table, in the order of the manual.
var refusals = [...]refusal{
	{
		RefuseMap, codeNotSupported, "the catalogs of the shards do not fit the shard map",
		"Something that PostgreSQL guarantees would not hold over the shards: a unique constraint without the key, a foreign key to rows of other shards, tables that differ. The message names it.",
		"Change the table, or accept it by its name in waive.",
	},
	{RefuseSyntax, codeSyntax, "%s", "", ""},
	{RefuseNewer, codeNotSupported, "the servers understand this statement, the router's grammar (PostgreSQL 16) does not", "It was parsed by a shard, and not run: nobody has seen which tables it needs.", hintShard},
	{RefuseComplex, codeTooComplex, "%s", "", hintShard},
	{RefuseEncoding, codeNotSupported, "text that is not UTF-8 cannot be routed", "The statement is not valid UTF-8 or comes in another client encoding.", "Set client_encoding to UTF8, or send such values as parameters."},
	{RefuseNode, codeNotSupported, "%s is not understood by the router", "What is not understood is not sent anywhere.", hintShard},
	{RefuseRelation, codeUndefinedTable, "relation %s does not exist", "It is in no catalog of the shards as they were read last.", "If it was created past pgdrover, run RELOAD on the admin database."},
	{RefuseUnlisted, codeNotSupported, "table %s is listed nowhere, so that nobody knows which shard has its rows", "", "List it under a key or in reference_tables, or set default_shard."},
	{RefuseColumn, codeNotSupported, "column %s cannot be resolved", "It is in none of the tables in reach, or in two of them, or it is a function call in disguise.", "Write it as table.column."},
	{RefuseFunction, codeUndefinedFunc, "function %s does not exist", "It is in no catalog of the shards as they were read last.", "If it was created past pgdrover, run RELOAD on the admin database."},
	{RefuseReaches, codeNotSupported, "function %s may read or write tables that the statement does not show", "Its rows may be on another shard.", hintLocal},
	{RefuseEffects, codeNotSupported, "function %s is about one server", "Its result, or what it does, is another one on every shard.", hintShard},
	{RefuseSequence, codeNotSupported, "sequence function %s without a sharded table that is pinned to one shard", "Each shard has sequences of its own.", "Use pgdrover.next_id(), or name the shard with /* shard=name */."},
	{RefuseSystemColumn, codeNotSupported, "system column %s of a table on several shards", "It names a place in one server.", "Use the primary key."},
	{RefuseView, codeNotSupported, "view %s is not routed", "The tables below it are not looked at.", "Write the query that it stands for, or name the shard with /* shard=name */."},
	{RefusePartition, codeNotSupported, "%s is a partition or child of another table", "Only the parent is routed.", "Use the parent table."},
	{RefuseForeign, codeNotSupported, "%s is not a table that is routed", "", hintShard},
	{RefuseSharedSequence, codeNotSupported, "sequence %s is read as a table", "Each shard has sequences of its own.", hintShard},
	{RefuseTemporary, codeNotSupported, "%s while the session uses temporary tables", "A temporary table is on one shard only, and may hide a table of the same name.", "Qualify tables with their schema, and name the shard of the temporary ones with SET pgdrover.shard."},
	{RefuseRLS, codeNotSupported, "row security of table %s may read other tables", "", "If its policies look at rows of the same shard only, list the table in shard_local."},
	{RefuseRule, codeNotSupported, "table %s has rules", "A rule replaces the statement by others.", "Drop the rule, or name the shard with /* shard=name */."},
	{RefuseTrigger, codeNotSupported, "trigger %s may read or write other tables", "", hintLocal},
	{RefuseDefault, codeNotSupported, "the default of column %s may read or write other tables", "", "Give the column a value, or list the table in shard_local."},
	{RefuseCheck, codeNotSupported, "a check of %s may read other tables", "", "If it looks at rows of the same shard only, list the table in shard_local."},
	{RefuseOperator, codeNotSupported, "operator %s may call a function that reads or writes tables", "", hintLocal},
	{RefuseCast, codeNotSupported, "a cast to %s may call a function that reads or writes tables", "", hintLocal},
	{RefuseScatter, codeNotSupported, "%s is not pinned to one shard", "Its rows are needed from several shards in a way that cannot be put together.", hintKey},
	{RefuseJoin, codeNotSupported, "%s is not joined on its sharding key", "Rows of different shards would have to meet.", "Join the tables on all columns of the sharding key, or pin each of them with \"key = value\"."},
	{RefuseCross, codeNotSupported, "the statement needs tables of different shards", "", "Split it into one statement for each shard."},
	{RefuseOrder, codeNotSupported, "ORDER BY over rows of several shards", "", hintKey},
	{RefuseGroup, codeNotSupported, "GROUP BY over rows of several shards", "", hintKey},
	{RefuseAggregate, codeNotSupported, "an aggregate over rows of several shards", "", hintKey},
	{RefuseDistinct, codeNotSupported, "DISTINCT over rows of several shards", "", hintKey},
	{RefuseWindow, codeNotSupported, "a window function over rows of several shards", "", hintKey},
	{RefuseSetOperation, codeNotSupported, "UNION, INTERSECT or EXCEPT over rows of several shards", "", hintKey},
	{RefuseWith, codeNotSupported, "WITH over rows of several shards", "", hintKey},
	{RefuseSubquery, codeNotSupported, "a subquery over rows of several shards", "", "Compare its sharding key with that of the table outside, or pin it with \"key = value\"."},
	{RefuseLimit, codeNotSupported, "this form of LIMIT or OFFSET over rows of several shards", "It must be a constant or a parameter.", hintKey},
	{RefuseLocking, codeNotSupported, "FOR UPDATE or FOR SHARE over rows of several shards", "", hintKey},
	{RefuseReferenceLock, codeNotSupported, "FOR UPDATE or FOR SHARE on reference table %s", "A lock on one shard's copy would keep nobody from another one's.", "Name the other tables with FOR UPDATE OF."},
	{RefuseUserType, codeNotSupported, "%s over rows of several shards", "The number of its type differs from shard to shard.", "Name the columns, and cast them to text."},
	{RefuseSample, codeNotSupported, "TABLESAMPLE of a sharded table", "", hintShard},
	{RefuseInto, codeNotSupported, "SELECT INTO", "Nobody knows how the new table is to be sharded.", "CREATE TABLE first, then INSERT … SELECT."},
	{RefuseMerge, codeNotSupported, "MERGE over several shards", "The table that is written, the source and the rows that are inserted must be on one shard; a reference table is not written.", "Pin the target in ON and the source in a subquery with \"key = value\", or use INSERT … ON CONFLICT."},
	{RefuseKeyNull, codeNotNull, "null value in sharding key column %s", "A row without a key belongs to no shard.", "Give the column a value."},
	{RefuseKeyUnmapped, codeCheck, "no shard is placed for the sharding key of the row in table %s", "", "Place the value on a shard: see SHOW PLACEMENT."},
	{RefuseKeyDefault, codeNotSupported, "sharding key column %s gets its value from the server", "The row must be routed before a default or an identity is known.", "Give the column a value, or the default pgdrover.next_id()."},
	{RefuseKeyComputed, codeNotSupported, "the value of sharding key column %s is not a constant or a parameter", "", "Compute it in the application, or by a SELECT first."},
	{RefuseKeyValue, codeNotSupported, "the value of sharding key column %s depends on settings of the server", "", "Write it in ISO form with an explicit cast to the column's type."},
	{RefuseInsertSelect, codeNotSupported, "INSERT … SELECT into table %s is not pinned to one shard", "", "Select a constant or a pinned key column for the sharding key."},
	{RefuseConflict, codeNotSupported, "ON CONFLICT on table %s by a constraint without the sharding key", "The conflicting row may be on another shard.", "Name a unique constraint or columns that contain the sharding key."},
	{RefuseKeyUpdate, codeNotSupported, "UPDATE of sharding key column %s moves rows to another shard", "", "Delete the row and insert it anew, in one transaction."},
	{RefuseReferenceWrite, codeNotSupported, "%s in a write of a reference table", "It may have another value on every shard.", "Compute the value first and write it as a constant."},
	{RefuseWriteMix, codeNotSupported, "a write of reference table %s together with other tables", "It must run on every shard alike.", "Write the reference table in a statement of its own, with constants."},
	{RefuseWriteScatter, codeNotSupported, "%s in a write on several shards", "", hintKey},
	{RefuseCursor, codeNotSupported, "a cursor over several shards", "", hintKey},
	{RefuseHold, codeNotSupported, "a cursor WITH HOLD", "It outlives the transaction on one server.", hintShard},
	{RefuseListen, codeNotSupported, "%s on a sharded database", "Notifications do not leave their server.", hintShard},
	{RefusePrepare, codeNotSupported, "%s as SQL on a sharded database", "", "Use the driver's prepared statements (Parse and Bind)."},
	{RefuseDo, codeNotSupported, "%s on a sharded database", "What it does is not in the statement.", hintShard},
	{RefuseUtility, codeNotSupported, "%s through a sharded database", "It concerns one server.", hintEach},
	{RefuseKeySchema, codeNotSupported, "%s would change what the shard map says", "", "Change the map first, with the commands of the admin database."},
	{RefuseUnique, codeNotSupported, "a unique constraint on sharded table %s without its sharding key", "Only rows of one shard would be compared.", "Add the sharding key to its columns."},
	{RefuseMixedDDL, codeNotSupported, "%s of tables that are on different shards", "", "Use one statement for each table."},
	{RefuseCreateAs, codeNotSupported, "%s", "Nobody knows how the rows are to be sharded.", "CREATE TABLE first, then INSERT … SELECT."},
	{RefuseExplain, codeNotSupported, "EXPLAIN of this command", "", hintShard},
	{RefuseExplainWrite, codeNotSupported, "EXPLAIN ANALYZE of a write on several shards", "It would carry the write out.", "Use EXPLAIN without ANALYZE, or name the shard with /* shard=name */."},
	{RefuseExplainFormat, codeNotSupported, "EXPLAIN (FORMAT %s) over several shards", "Several plans are not one document.", "Use FORMAT TEXT, or name the shard with /* shard=name */."},
	{RefuseCopy, codeNotSupported, "COPY: %s", "", hintShard},
	{RefuseCopyFile, codeNotSupported, "COPY with a server's file or program", "", "Use COPY … FROM STDIN or TO STDOUT."},
	{RefuseCurrentOf, codeNotSupported, "WHERE CURRENT OF", "", "Use the primary key and the sharding key."},
	{RefuseHint, codeParameter, "%s", "", "Shards are listed by SHOW SHARDS on the admin database, keys by SHOW KEYS."},
	{RefuseHintConflict, codeParameter, "the hint says shard %s, the statement's own key another one", "", "Take away the hint or the condition."},
	{RefuseParameter, codeUndefinedParam, "there is no parameter %s", "", ""},
}

// NewerGrammar is the refusal of a text that a server has parsed and the router cannot (Error.Construct was RefuseSyntax).
func NewerGrammar() *Error { return refuse(RefuseNewer, "") }

// refuse makes the error for a refusal. position is in bytes of the statement from 0, or -1.
func refuse(name string, arg string) *Error {
	for i := range refusals {
		if r := &refusals[i]; r.name == name {
			message := r.message
			if strings.Contains(message, "%s") {
				message = fmt.Sprintf(message, arg)
			}
			return &Error{Code: r.code, Message: message, Detail: r.why, Hint: r.hint, Construct: name}
		}
	}
	return &Error{Code: codeNotSupported, Message: name + " " + arg, Construct: name}
}
