package shard

import (
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	pg "github.com/pganalyze/pg_query_go/v5"
)

// treeNodes is the allow-list of queries: which nodes may occur, and which of their fields may be set. What is not here is refused.
// Fields that only PostgreSQL's analysis fills are left out on purpose.
var treeNodes = parseTreeNodes(`
SelectStmt distinct_clause into_clause target_list from_clause where_clause group_clause group_distinct having_clause window_clause values_lists sort_clause limit_offset limit_count limit_option locking_clause with_clause op all larg rarg
InsertStmt relation cols select_stmt on_conflict_clause returning_list with_clause override
UpdateStmt relation target_list where_clause from_clause returning_list with_clause
DeleteStmt relation using_clause where_clause returning_list with_clause
MergeStmt relation source_relation join_condition merge_when_clauses with_clause
MergeWhenClause matched command_type override condition target_list values
WithClause ctes recursive location
CommonTableExpr ctename aliascolnames ctematerialized ctequery search_clause cycle_clause location
CTESearchClause search_col_list search_breadth_first search_seq_column location
CTECycleClause cycle_col_list cycle_mark_column cycle_mark_value cycle_mark_default cycle_path_column location
OnConflictClause action infer target_list where_clause location
InferClause index_elems where_clause conname location
IndexElem name expr collation opclass ordering nulls_ordering
ResTarget name indirection val location
MultiAssignRef source colno ncolumns
RangeVar schemaname relname inh relpersistence alias location
RangeSubselect lateral subquery alias
RangeFunction lateral ordinality is_rowsfrom functions alias coldeflist
RangeTableFunc lateral docexpr rowexpr namespaces columns alias location
RangeTableFuncCol colname type_name for_ordinality is_not_null colexpr coldefexpr location
ColumnDef colname type_name inhcount is_local is_not_null is_from_type storage coll_clause location
JoinExpr jointype is_natural larg rarg using_clause join_using_alias quals alias
Alias aliasname colnames
SortBy node sortby_dir sortby_nulls use_op location
WindowDef name refname partition_clause order_clause frame_options start_offset end_offset location
GroupingSet kind content location
LockingClause locked_rels strength wait_policy
A_Const ival fval boolval sval bsval isnull location
Integer ival
Float fval
Boolean boolval
String sval
BitString bsval
A_Star
A_Expr kind name lexpr rexpr location
A_ArrayExpr elements location
A_Indices is_slice lidx uidx
A_Indirection arg indirection
ColumnRef fields location
ParamRef number location
FuncCall funcname args agg_order agg_filter over agg_within_group agg_star agg_distinct func_variadic funcformat location
NamedArgExpr arg name argnumber location
TypeCast arg type_name location
TypeName names setof pct_type typmods typemod array_bounds location
CollateClause arg collname location
BoolExpr boolop args location
NullTest arg nulltesttype location
BooleanTest arg booltesttype location
CaseExpr arg args defresult location
CaseWhen expr result location
CoalesceExpr args location
MinMaxExpr op args location
RowExpr args row_format location
SubLink sub_link_type testexpr oper_name subselect location
SQLValueFunction op typmod location
GroupingFunc args location
SetToDefault location
CurrentOfExpr cursor_name cursor_param
XmlExpr op name named_args arg_names args xmloption indent location
XmlSerialize xmloption expr type_name indent location
JsonFormat format_type encoding location
JsonReturning format
JsonOutput type_name returning
JsonValueExpr raw_expr format
JsonKeyValue key value
JsonObjectConstructor exprs output absent_on_null unique location
JsonArrayConstructor exprs output absent_on_null location
JsonArrayQueryConstructor query output format absent_on_null location
JsonAggConstructor output agg_filter agg_order over location
JsonObjectAgg constructor arg absent_on_null unique
JsonArrayAgg constructor arg absent_on_null
JsonIsPredicate expr format item_type unique_keys location
List items
IntoClause *
RangeTableSample *
Node *
`)

func parseTreeNodes(s string) map[protoreflect.Name]map[protoreflect.Name]bool {
	nodes := map[protoreflect.Name]map[protoreflect.Name]bool{}
	for line := range strings.Lines(s) {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		fields := map[protoreflect.Name]bool{}
		for _, f := range words[1:] {
			fields[protoreflect.Name(f)] = true
		}
		nodes[protoreflect.Name(words[0])] = fields
	}
	return nodes
}

// counted are the nodes that the analysis must have looked at, each of them: one that it passed by without knowing is refused.
var counted = map[protoreflect.Name]bool{
	"SelectStmt": true, "InsertStmt": true, "UpdateStmt": true, "DeleteStmt": true, "MergeStmt": true, "MergeWhenClause": true, "RangeVar": true, "RangeFunction": true,
	"FuncCall": true, "ColumnRef": true, "ParamRef": true, "SubLink": true, "TypeCast": true, "SQLValueFunction": true,
	"CommonTableExpr": true, "A_Indirection": true, "A_Expr": true,
}

// checkTree compares a tree with the allow-list and counts its nodes.
func checkTree(m protoreflect.Message, counts map[protoreflect.Name]int) *Error {
	name := m.Descriptor().Name()
	fields, ok := treeNodes[name]
	if !ok {
		return refuse(RefuseNode, string(name))
	}
	if counted[name] || name == "GroupingSet" {
		counts[name]++
	}
	var bad *Error
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if !fields["*"] && !fields[fd.Name()] {
			bad = refuse(RefuseNode, string(name)+"."+string(fd.Name()))
			return false
		}
		if fd.Kind() != protoreflect.MessageKind {
			return true
		}
		if fd.IsList() {
			for i := range v.List().Len() {
				if bad = checkTree(v.List().Get(i).Message(), counts); bad != nil {
					return false
				}
			}
			return true
		}
		bad = checkTree(v.Message(), counts)
		return bad == nil
	})
	return bad
}

// generic visits the expressions below a node that means nothing to routing by itself.
func (a *analysis) generic(m protoreflect.Message, s *scope) {
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if fd.Kind() != protoreflect.MessageKind {
			return true
		}
		if fd.IsList() {
			for i := range v.List().Len() {
				a.genericMessage(v.List().Get(i).Message(), s)
			}
			return true
		}
		a.genericMessage(v.Message(), s)
		return true
	})
}

func (a *analysis) genericMessage(m protoreflect.Message, s *scope) {
	switch n := m.Interface().(type) {
	case *pg.Node:
		a.expr(n, s)
	case *pg.TypeName:
		a.typeName(n)
	case *pg.FuncCall:
		a.call(n, s)
	default:
		a.generic(m, s)
	}
}
