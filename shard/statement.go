package shard

import (
	pg "github.com/pganalyze/pg_query_go/v5"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// statement makes the shape of a parsed statement.
func (a *analysis) statement(n *pg.Node) *shape {
	sh := &shape{driver: -1}
	switch n.GetNode().(type) {
	case *pg.Node_SelectStmt, *pg.Node_InsertStmt, *pg.Node_UpdateStmt, *pg.Node_DeleteStmt, *pg.Node_MergeStmt:
		a.dml(n, sh)
		sh.query = true
	default:
		a.utility(n, sh)
	}
	return sh
}

// dml makes the shape of a query or a write.
func (a *analysis) dml(n *pg.Node, sh *shape) {
	counts := map[protoreflect.Name]int{}
	if e := checkTree(n.ProtoReflect(), counts); e != nil {
		sh.err = e
		sh.plan.Writes, sh.plan.Rows = true, true
		return
	}
	var q *query
	a.top = n
	switch s := n.GetNode().(type) {
	case *pg.Node_SelectStmt:
		a.rows = true
		q = a.selectStmt(s.SelectStmt, nil, nil)
	case *pg.Node_InsertStmt:
		q = a.insert(s.InsertStmt, nil, nil)
		a.rows = len(s.InsertStmt.GetReturningList()) > 0
	case *pg.Node_UpdateStmt:
		a.update1 = s.UpdateStmt
		q = a.update(s.UpdateStmt, nil, nil)
		a.rows = len(s.UpdateStmt.GetReturningList()) > 0
	case *pg.Node_DeleteStmt:
		q = a.delete(s.DeleteStmt, nil, nil)
		a.rows = len(s.DeleteStmt.GetReturningList()) > 0
	case *pg.Node_MergeStmt:
		q = a.mergeStmt(s.MergeStmt)
	}
	sh.plan.Rows = a.rows
	a.finish(sh, counts, q)
	if s := n.GetSelectStmt(); s != nil && sh.driver >= 0 && sh.err == nil {
		a.planLimit(sh, s)
	}
}

// fixed makes sh the same plan for every execution.
func (sh *shape) fix(p Plan) {
	p.Limit = -1
	sh.static, sh.plan = true, p
}

// everywhere makes sh a command for every shard.
func (a *analysis) everywhere(sh *shape, noTx bool) {
	p := Plan{Kind: Everywhere, Tier: 2, NoTx: noTx, Writes: true}
	for i := range a.m.Shards() {
		p.Parts = append(p.Parts, Part{Shard: i})
	}
	sh.fix(p)
}

// onShardOnly makes sh a command for one shard.
func (a *analysis) onShardOnly(sh *shape, shard int, noTx bool) {
	sh.anchored = true
	sh.fix(Plan{Kind: Forward, Tier: 1, Shard: shard, NoTx: noTx, Writes: true})
}

// refused makes sh a refusal that a hint overcomes.
func (sh *shape) refused(e *Error) {
	sh.err = e
	sh.plan = Plan{Writes: true, Rows: true, Limit: -1, NoTx: sh.plan.NoTx}
}
