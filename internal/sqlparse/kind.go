package sqlparse

import pg_query "github.com/pganalyze/pg_query_go/v5"

// Kind is what a statement is, as far as its first word or the top of its tree tells.
type Kind uint8

// The kinds of statement. Kinds up to KindMerge have their literals lifted.
const (
	// KindOther is everything without a kind of its own: DDL, GRANT, VACUUM and so on, or no SQL at all.
	KindOther Kind = iota
	// KindSelect is SELECT, VALUES or TABLE.
	KindSelect
	// KindWith begins with WITH; only the tree tells more, so no Statement of a Tree has it.
	KindWith
	KindInsert
	KindUpdate
	KindDelete
	KindMerge
	KindCopy
	// KindTransaction is BEGIN, COMMIT, SAVEPOINT, PREPARE TRANSACTION and their like.
	KindTransaction
	// KindSet is SET or RESET.
	KindSet
	KindShow
	KindExplain
	KindPrepare
	KindExecute
	KindDeallocate
	// KindCursor is DECLARE, FETCH, MOVE or CLOSE.
	KindCursor
	// KindListen is LISTEN, UNLISTEN or NOTIFY.
	KindListen
	KindDiscard
	KindLock
	KindTruncate
	// KindDo is DO, KindCall is CALL.
	KindDo
	KindCall
)

// lifts says whether literals are lifted out of statements of the kind. In other statements numbers and strings are
// often part of the statement itself, as in FETCH 5.
func (k Kind) lifts() bool { return k >= KindSelect && k <= KindMerge }

func kindOfWord(word []byte) Kind {
	switch string(word) {
	case "select", "values", "table":
		return KindSelect
	case "with":
		return KindWith
	case "insert":
		return KindInsert
	case "update":
		return KindUpdate
	case "delete":
		return KindDelete
	case "merge":
		return KindMerge
	case "copy":
		return KindCopy
	case "begin", "start", "commit", "end", "rollback", "abort", "savepoint", "release":
		return KindTransaction
	case "set", "reset":
		return KindSet
	case "show":
		return KindShow
	case "explain":
		return KindExplain
	case "prepare": // or PREPARE TRANSACTION
		return KindPrepare
	case "execute":
		return KindExecute
	case "deallocate":
		return KindDeallocate
	case "declare", "fetch", "move", "close":
		return KindCursor
	case "listen", "unlisten", "notify":
		return KindListen
	case "discard":
		return KindDiscard
	case "lock":
		return KindLock
	case "truncate":
		return KindTruncate
	case "do":
		return KindDo
	case "call":
		return KindCall
	}
	return KindOther
}

func kindOfNode(node *pg_query.Node) Kind {
	switch node.GetNode().(type) {
	case *pg_query.Node_SelectStmt:
		return KindSelect
	case *pg_query.Node_InsertStmt:
		return KindInsert
	case *pg_query.Node_UpdateStmt:
		return KindUpdate
	case *pg_query.Node_DeleteStmt:
		return KindDelete
	case *pg_query.Node_MergeStmt:
		return KindMerge
	case *pg_query.Node_CopyStmt:
		return KindCopy
	case *pg_query.Node_TransactionStmt:
		return KindTransaction
	case *pg_query.Node_VariableSetStmt:
		return KindSet
	case *pg_query.Node_VariableShowStmt:
		return KindShow
	case *pg_query.Node_ExplainStmt:
		return KindExplain
	case *pg_query.Node_PrepareStmt:
		return KindPrepare
	case *pg_query.Node_ExecuteStmt:
		return KindExecute
	case *pg_query.Node_DeallocateStmt:
		return KindDeallocate
	case *pg_query.Node_DeclareCursorStmt, *pg_query.Node_FetchStmt, *pg_query.Node_ClosePortalStmt:
		return KindCursor
	case *pg_query.Node_ListenStmt, *pg_query.Node_UnlistenStmt, *pg_query.Node_NotifyStmt:
		return KindListen
	case *pg_query.Node_DiscardStmt:
		return KindDiscard
	case *pg_query.Node_LockStmt:
		return KindLock
	case *pg_query.Node_TruncateStmt:
		return KindTruncate
	case *pg_query.Node_DoStmt:
		return KindDo
	case *pg_query.Node_CallStmt:
		return KindCall
	}
	return KindOther
}
