package shard

import (
	"strings"

	"pgdrover/internal/sqlparse"

	pg "github.com/pganalyze/pg_query_go/v5"
)

// explainText is the format of EXPLAIN into which lines about shards can be put.
const explainText = "text"

// explain handles EXPLAIN of a query or a write.
func (a *analysis) explain(s *pg.ExplainStmt, sh *shape) {
	analyze, format := false, explainText
	for _, n := range s.GetOptions() {
		o := n.GetDefElem()
		if o == nil {
			sh.refused(refuse(RefuseNode, "an option"))
			return
		}
		switch o.GetDefname() {
		case "analyze":
			analyze = isTrue(o.GetArg())
		case "format":
			format = o.GetArg().GetString_().GetSval()
		}
	}
	if len(s.GetOptions()) > 0 {
		a.fixOptions()
	}
	switch s.GetQuery().GetNode().(type) {
	case *pg.Node_SelectStmt, *pg.Node_InsertStmt, *pg.Node_UpdateStmt, *pg.Node_DeleteStmt, *pg.Node_MergeStmt:
		a.dml(s.GetQuery(), sh)
	default:
		sh.refused(refuse(RefuseExplain, ""))
		return
	}
	sh.plan.Rows = true
	sh.explain, sh.analyze, sh.format = true, analyze, format
	if sh.limit != nil && sh.limit.rewrites() {
		sh.driver, sh.multi, sh.limit = -1, refuse(RefuseExplain, ""), nil
	}
}

// isTrue reads the value of an option as defGetBoolean does; what the server will refuse counts as true.
func isTrue(n *pg.Node) bool {
	switch v := n.GetNode().(type) {
	case *pg.Node_Integer:
		return v.Integer.GetIval() != 0
	case *pg.Node_Boolean:
		return v.Boolean.GetBoolval()
	case *pg.Node_String_:
		s := strings.ToLower(v.String_.GetSval())
		return s != "false" && s != "off"
	}
	return true
}

// fixOptions keeps the literals between the parentheses behind EXPLAIN in the shape: FORMAT 'json' is not FORMAT 'text'.
func (a *analysis) fixOptions() {
	lx := sqlparse.Lexer{Text: a.text, Pos: a.base, Backslashes: !a.env.StringsPlain}
	lx.NextCode() // EXPLAIN
	var end int
	for depth := 0; ; {
		t := lx.NextCode()
		end = t.End
		switch string(a.text[t.Start:t.End]) {
		case "(":
			depth++
		case ")":
			depth--
		}
		if depth == 0 || t.Kind == sqlparse.EndOfText {
			break
		}
	}
	for i, l := range a.folder.LiteralsOf(a.shape) {
		if int(l.Start) < end {
			a.fixed[i] = true
		}
	}
}

// explained makes the plan of an EXPLAIN of inner.
func (sh *shape) explained(inner Plan) (Plan, error) {
	p := Plan{Kind: Explain, Name: sh.format, Limit: -1, Writes: inner.Writes && sh.analyze, Rows: true}
	p.explains(&inner)
	if len(p.Parts) > 1 {
		switch {
		case sh.format != explainText:
			return Plan{}, refuse(RefuseExplainFormat, strings.ToUpper(sh.format))
		case p.Writes:
			return Plan{}, refuse(RefuseExplainWrite, "")
		}
	}
	return p, nil
}

// explains makes inner the plan that p explains.
func (p *Plan) explains(inner *Plan) {
	p.Inner, p.Tier, p.Parts, p.Key = inner, inner.Tier, inner.Parts, inner.Key
	if inner.Kind == Forward {
		p.Parts = []Part{{Shard: inner.Shard}}
	}
}
