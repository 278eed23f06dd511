// Read by browsers that cannot read the page's modules: a sentence instead of an empty page.
(function () {
  var isOld = false;
  function show() {
    if (isOld && document.body && !document.querySelector("main")) {
      document.body.textContent = "This browser is too old for SpecTacles. · Dieser Browser ist zu alt für SpecTacles.";
    }
  }
  window.addEventListener("error", function (event) {
    isOld = isOld || /SyntaxError/.test(event.message || "");
    show();
  });
  document.addEventListener("DOMContentLoaded", show);
})();
