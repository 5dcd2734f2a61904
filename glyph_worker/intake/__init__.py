"""What people bring (text, HTML, PDF, pictures) becomes a Document. Knows no HTTP and no queue.

Untrusted markup is read in a process of its own (`child`), bounded in CPU time and memory.

reader       a file to a Document; start here
kinds        what a file is, by its bytes
charsets     bytes to text
children     runs the child that reads a file
child        reads one page, PDF or picture, bounded
html         a page's text as a reader sees it
html_limits  markup that would cost the square of its length
html_tables  rows on lines
flow         lines from words and breaks
numbering    the numbers of lists
pdf          words with their places
pdf_layout   blocks in reading order
reflow       broken lines joined to paragraphs
places       where words stand on their page
pictures     pictures of pages, and a PDF's pages as pictures
text_layer   text for pages that are pictures
ocr          words of a picture
"""
