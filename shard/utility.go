package shard

import (
	"strings"

	pg "github.com/pganalyze/pg_query_go/v5"
)

// utility makes the shape of what is neither a query nor a write.
func (a *analysis) utility(n *pg.Node, sh *shape) {
	switch s := n.GetNode().(type) {
	case *pg.Node_TransactionStmt:
		a.transaction(s.TransactionStmt, sh)
	case *pg.Node_VariableSetStmt:
		a.set(s.VariableSetStmt, sh)
	case *pg.Node_VariableShowStmt:
		if name := s.VariableShowStmt.GetName(); strings.HasPrefix(name, hintPrefix) {
			sh.fix(Plan{Kind: Command, Control: ShowHint, Name: name, Rows: true, Text: string(a.source)})
			return
		}
		sh.fix(Plan{Kind: Anywhere, Tier: 1, Rows: true})
	case *pg.Node_ConstraintsSetStmt:
		sh.fix(a.command(Set))
	case *pg.Node_DiscardStmt:
		p := a.command(Discard)
		p.NoTx = s.DiscardStmt.GetTarget() == pg.DiscardMode_DISCARD_ALL
		sh.fix(p)
	case *pg.Node_DeallocateStmt:
		p := a.command(Deallocate)
		p.Name = s.DeallocateStmt.GetName()
		sh.fix(p)
	case *pg.Node_FetchStmt:
		p := a.command(Close)
		p.Name, p.Rows = s.FetchStmt.GetPortalname(), !s.FetchStmt.GetIsmove()
		sh.fix(p)
	case *pg.Node_ClosePortalStmt:
		p := a.command(Close)
		p.Name = s.ClosePortalStmt.GetPortalname()
		sh.fix(p)
	case *pg.Node_DeclareCursorStmt:
		a.declare(s.DeclareCursorStmt, sh)
	case *pg.Node_ExplainStmt:
		a.explain(s.ExplainStmt, sh)
	case *pg.Node_ListenStmt:
		sh.refused(refuse(RefuseListen, "LISTEN"))
	case *pg.Node_UnlistenStmt:
		sh.refused(refuse(RefuseListen, "UNLISTEN"))
	case *pg.Node_NotifyStmt:
		sh.refused(refuse(RefuseListen, "NOTIFY"))
	case *pg.Node_PrepareStmt:
		sh.refused(refuse(RefusePrepare, "PREPARE"))
	case *pg.Node_ExecuteStmt:
		sh.refused(refuse(RefusePrepare, "EXECUTE"))
	case *pg.Node_DoStmt:
		sh.refused(refuse(RefuseDo, "DO"))
	case *pg.Node_CallStmt:
		sh.refused(refuse(RefuseDo, "CALL"))
	case *pg.Node_CopyStmt:
		a.copy(s.CopyStmt, sh)
	case *pg.Node_LockStmt:
		a.relationsCommand(sh, "LOCK TABLE", s.LockStmt.GetRelations(), false)
	case *pg.Node_TruncateStmt:
		a.relationsCommand(sh, "TRUNCATE", s.TruncateStmt.GetRelations(), false)
	default:
		a.ddl(n, sh)
		sh.plan.DDL = true
	}
}

// command is a plan that the session carries out.
func (a *analysis) command(c Control) Plan {
	return Plan{Kind: Command, Control: c, Text: string(a.source)}
}

// transaction handles BEGIN, COMMIT and their like.
func (a *analysis) transaction(s *pg.TransactionStmt, sh *shape) {
	p := a.command(ControlNone)
	p.Chain, p.Name = s.GetChain(), s.GetSavepointName()
	switch s.GetKind() {
	case pg.TransactionStmtKind_TRANS_STMT_BEGIN, pg.TransactionStmtKind_TRANS_STMT_START:
		p.Control = Begin
	case pg.TransactionStmtKind_TRANS_STMT_COMMIT:
		p.Control = Commit
	case pg.TransactionStmtKind_TRANS_STMT_ROLLBACK:
		p.Control = Rollback
	case pg.TransactionStmtKind_TRANS_STMT_SAVEPOINT:
		p.Control = Savepoint
	case pg.TransactionStmtKind_TRANS_STMT_RELEASE:
		p.Control = Release
	case pg.TransactionStmtKind_TRANS_STMT_ROLLBACK_TO:
		p.Control = RollbackTo
	case pg.TransactionStmtKind_TRANS_STMT_PREPARE:
		p.Control, p.Name = PrepareTransaction, s.GetGid()
	case pg.TransactionStmtKind_TRANS_STMT_COMMIT_PREPARED, pg.TransactionStmtKind_TRANS_STMT_ROLLBACK_PREPARED:
		p.Control, p.Name, p.NoTx = CommitPrepared, s.GetGid(), true
	default:
		sh.refused(refuse(RefuseNode, "this transaction command"))
		return
	}
	sh.fix(p)
}

// hintPrefix begins the names of our own settings.
const hintPrefix = "pgdrover."

// set handles SET and RESET.
func (a *analysis) set(s *pg.VariableSetStmt, sh *shape) {
	p := a.command(Set)
	p.Local = s.GetIsLocal()
	p.Name = s.GetName()
	if !strings.HasPrefix(s.GetName(), hintPrefix) {
		// SET … FROM CURRENT is part of CREATE FUNCTION only; all others mean the same everywhere.
		sh.fix(p)
		return
	}
	p.Control = SetHint
	reset := s.GetKind() == pg.VariableSetKind_VAR_RESET || s.GetKind() == pg.VariableSetKind_VAR_SET_DEFAULT
	var value string
	if !reset {
		if len(s.GetArgs()) != 1 {
			sh.refused(refuse(RefuseHint, s.GetName()+" takes one value"))
			return
		}
		c := s.GetArgs()[0].GetAConst()
		switch v := c.GetVal().(type) {
		case *pg.A_Const_Sval:
			value = v.Sval.GetSval()
		case *pg.A_Const_Ival:
			value = itoa(int(v.Ival.GetIval()))
		case *pg.A_Const_Fval:
			value = v.Fval.GetFval()
		default:
			sh.refused(refuse(RefuseHint, s.GetName()+" takes a constant"))
			return
		}
	}
	name, keyName, _ := strings.Cut(strings.TrimPrefix(s.GetName(), hintPrefix), ".")
	switch name {
	case "shard":
		if _, ok := a.m.ShardIndex(value); value != "" && !ok {
			sh.refused(refuse(RefuseHint, "there is no shard \""+value+"\""))
			return
		}
		p.Hint.Shard = value
	case "shard_key":
		if keyName != "" && a.m.Key(keyName) == nil {
			sh.refused(refuse(RefuseHint, "there is no sharding key \""+keyName+"\""))
			return
		}
		if !reset {
			p.Hint = Hint{Key: value, HasKey: true, KeyName: keyName}
		}
	default:
		sh.refused(refuse(RefuseHint, "unrecognized configuration parameter \""+s.GetName()+"\""))
		return
	}
	sh.fix(p)
}

// declare handles DECLARE CURSOR: its rows must come from one shard.
func (a *analysis) declare(s *pg.DeclareCursorStmt, sh *shape) {
	const hold = 0x0020 // CURSOR_OPT_HOLD of nodes/parsenodes.h
	if s.GetOptions()&hold != 0 {
		sh.refused(refuse(RefuseHold, ""))
		sh.plan.Name = s.GetPortalname()
		return
	}
	a.dml(s.GetQuery(), sh)
	sh.plan.Name, sh.plan.Rows = s.GetPortalname(), false
	if sh.err == nil {
		sh.driver, sh.multi, sh.limit = -1, refuse(RefuseCursor, ""), nil
		sh.cursor = true
	}
}

// relationsCommand handles a command with a list of tables: all of one shard, or all of every shard.
func (a *analysis) relationsCommand(sh *shape, what string, list []*pg.Node, noTx bool) {
	a.tablesCommand(sh, what, rangeVars(list), noTx)
}

func rangeVars(list []*pg.Node) []*pg.RangeVar {
	var vars []*pg.RangeVar
	for _, n := range list {
		vars = append(vars, n.GetRangeVar())
	}
	return vars
}

// tablesCommand is relationsCommand for names that are known to be tables; names that the catalog lacks are for the servers to report.
func (a *analysis) tablesCommand(sh *shape, what string, vars []*pg.RangeVar, noTx bool) {
	single, spread := -1, false
	for _, v := range vars {
		shard, e := a.placeOf(v)
		if e != nil {
			sh.refused(e)
			return
		}
		switch {
		case shard < 0:
			spread = true
		case single >= 0 && single != shard:
			spread = true
		default:
			single = shard
		}
	}
	switch {
	case single < 0:
		a.everywhere(sh, noTx)
	case spread:
		sh.refused(refuse(RefuseMixedDDL, what))
	default:
		a.onShardOnly(sh, single, noTx)
	}
}

// placeOf returns the shard of a table that is on one, -1 for one that every shard has.
func (a *analysis) placeOf(v *pg.RangeVar) (int, *Error) {
	if v == nil {
		return -1, refuse(RefuseNode, "a table name")
	}
	if v.GetCatalogname() != "" {
		return -1, refuse(RefuseNode, "a name in three parts")
	}
	if a.env.Temporary && v.GetSchemaname() == "" || v.GetSchemaname() == "pg_temp" {
		return -1, refuse(RefuseTemporary, v.GetRelname())
	}
	if r := a.findRelation(v.GetSchemaname(), v.GetRelname()); r != nil {
		return a.placeOfName(r.Schema, r.Name.Name)
	}
	schema := v.GetSchemaname()
	if schema == "" {
		schema = a.creationSchema()
	}
	return a.placeOfName(schema, v.GetRelname())
}

// placeOfName is placeOf for a name with its schema.
func (a *analysis) placeOfName(schema, name string) (int, *Error) {
	t := a.m.Table(schema, name)
	switch {
	case t == nil:
		return -1, nil
	case t.Kind == Single:
		return t.Shard, nil
	}
	return -1, nil
}

// creationSchema is where a new object without a schema goes: the first of search_path.
func (a *analysis) creationSchema() string {
	for _, s := range a.path {
		if s != pgCatalog || a.early {
			return s
		}
	}
	return "public"
}
