package sqlparse

import (
	"context"
	"errors"
	"fmt"
	"strings"

	pg_query "github.com/pganalyze/pg_query_go/v5"
	"github.com/pganalyze/pg_query_go/v5/parser"

	"pgdrover/internal/procs"
)

// Parser calls the C parser behind a gate. Goroutines share it.
type Parser struct {
	limits Limits
	slots  chan struct{} // one for each call into C that may run at a time
}

// NewParser returns a parser with the limits, which are checked: no setting may let a text through that the C
// code does not survive. As many calls into C run at a time as there are processors for Go code.
func NewParser(limits Limits) (*Parser, error) {
	if err := limits.validate(); err != nil {
		return nil, err
	}
	return &Parser{limits: limits, slots: make(chan struct{}, procs.Max())}, nil
}

// Limits returns the parser's limits.
func (p *Parser) Limits() Limits { return p.limits }

// Tree is a parsed text.
type Tree struct {
	// Statements are those of the text in order, empty ones left out.
	Statements []Statement
}

// Statement is one statement of a text.
type Statement struct {
	// Start is the byte offset behind the semicolon before the statement, Len reaches to its own semicolon or to the end of
	// the text. White space and comments count.
	Start, Len int
	// Kind is that of the tree: a statement that begins with WITH has that of what follows.
	Kind Kind
	// Node is the tree. Its locations are byte offsets in the whole text, or -1.
	Node *pg_query.Node
}

// Check says whether Parse would hand the text to the C parser; it fails as Parse does. It takes time linear in the text.
func (p *Parser) Check(text []byte, backslashes bool) error {
	_, err := p.limits.gate(text, backslashes)
	return err
}

// Parse parses a text of any number of statements. backslashes says that standard_conforming_strings is off. It
// waits for one of the slots while ctx lasts; a call into C then runs to its end, in time bounded by the limits.
// Errors are *SyntaxError, *TooComplexError, *EncodingError, or that of ctx.
func (p *Parser) Parse(ctx context.Context, text []byte, backslashes bool) (*Tree, error) {
	rewrite, err := p.limits.gate(text, backslashes)
	if err != nil {
		return nil, err
	}
	given := text
	if rewrite {
		given = standardStrings(text, backslashes)
	}
	select {
	case p.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for the SQL parser: %w", ctx.Err())
	}
	result, err := p.call(string(given))
	if err != nil {
		return nil, refusal(text, given, err)
	}
	tree := &Tree{Statements: make([]Statement, 0, len(result.GetStmts()))}
	for _, raw := range result.GetStmts() {
		s := Statement{
			Start: int(raw.GetStmtLocation()),
			Len:   int(raw.GetStmtLen()),
			Kind:  kindOfNode(raw.GetStmt()),
			Node:  raw.GetStmt(),
		}
		if s.Len == 0 {
			s.Len = len(text) - s.Start
		}
		tree.Statements = append(tree.Statements, s)
	}
	return tree, nil
}

// call holds a slot that the caller took.
func (p *Parser) call(text string) (*pg_query.ParseResult, error) {
	defer func() { <-p.slots }()
	return pg_query.Parse(text)
}

// refusal types an error of the C parser, or of reading its answer. The parser was given a text that has each byte in the
// same place as the client's text, but not each character.
func refusal(text, given []byte, err error) error {
	var syntax *parser.Error
	if errors.As(err, &syntax) {
		if strings.HasPrefix(syntax.Message, "memory exhausted") {
			return &TooComplexError{Limit: "the parser ran out of stack"}
		}
		position := syntax.Cursorpos
		if position > 0 && len(text) == len(given) {
			position = CharPosition(text, ByteOffset(given, position))
		}
		return &SyntaxError{Message: syntax.Message, Position: position}
	}
	return &TooComplexError{Limit: "its parse tree cannot be read: " + err.Error()}
}
